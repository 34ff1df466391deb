# Airflow as docker-compose.yaml runs it: the official image, and on top of it our packages by the command that MWAA's
# image runs, from the same requirements.txt, with the constraints file at the path that it names.
FROM apache/airflow:3.3.1-python3.12

COPY requirements.txt /usr/local/airflow/requirements/requirements.txt
COPY scripts/mwaa-3.3.1/essential-constraints.txt /usr/local/airflow/requirements/mwaa_essential_constraints.txt
COPY dags/constraints-3.3.1-canvas.txt /usr/local/airflow/dags/constraints-3.3.1-canvas.txt

# MWAA starts in spite of a failed install or of conflicts; a build is where to see them. The two folders: a volume takes
# over the owner of the folder that it is mounted on.
RUN pip install --no-cache-dir \
        --constraint /usr/local/airflow/requirements/mwaa_essential_constraints.txt \
        --requirement /usr/local/airflow/requirements/requirements.txt \
    && python -c "import dap, asyncpg" \
    && mkdir /opt/airflow/data /opt/airflow/simulator
